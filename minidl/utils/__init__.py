"""What PyTorch keeps under `utils`: data sets and loaders."""
