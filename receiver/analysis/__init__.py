"""Vision models that look at what was received: classes of pixels, depth, things in boxes."""
