"""Image files: decoding, datasets, folders of images."""
