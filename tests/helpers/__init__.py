"""What tests share: runs of the workflow that are done, small stores, videos, batches and predictions."""
