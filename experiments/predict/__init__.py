"""Prediction: faces of photographs, videos and cameras, with their expressions, valence, arousal and action units."""
