"""What a task is, and what all tasks share."""
