"""Where a shadow and the champion part: the images, side by side, for a person to judge."""
