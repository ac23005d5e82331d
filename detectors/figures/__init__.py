"""Every figure of the results."""
