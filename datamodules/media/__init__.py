"""Pictures in order, from photographs, a video file or a camera."""
