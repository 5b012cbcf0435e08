"""Generated pages: detections, settings, retention and capacity, written from the tables they describe."""
