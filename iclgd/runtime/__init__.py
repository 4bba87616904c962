"""What runs the LightningModules: processes, signals, checkpoints and progress."""
