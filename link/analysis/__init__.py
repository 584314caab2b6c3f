"""Vision models that either end may run on a picture: classes of pixels, depth, things in boxes."""
