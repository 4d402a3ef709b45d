"""Treatment of predictions after the network: smoothing, thresholds, expression bias, blending, cross-fitting."""
