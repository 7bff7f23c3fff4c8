"""The world that the champion was trained on, as a profile that windows are held against."""
