"""What is looked at of models that answer at every position of a prompt."""
