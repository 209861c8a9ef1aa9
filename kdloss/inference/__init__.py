"""From a photograph to landmarks: detectors, readers of any model's file, confidence, tracking, output."""
