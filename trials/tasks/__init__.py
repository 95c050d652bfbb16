"""One file a task; the file name is the task name."""
