"""The disk, which may hold a stranger's set: result sets, rows, logs, files, and text made harmless."""
