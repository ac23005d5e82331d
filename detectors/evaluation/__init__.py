"""From predictions to tables: what is measured, over what, and how experiments are compared."""
