"""Real-ESRGAN: its networks, its weights, and two engines that enlarge images with them."""
