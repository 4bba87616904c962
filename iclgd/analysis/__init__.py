"""What is looked at: functions over models and data."""
