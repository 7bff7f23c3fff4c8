"""What trains, what selects and what judges: collected from the manifest and from labelled production images."""
