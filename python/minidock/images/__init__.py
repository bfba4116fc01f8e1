"""Images: references, import, list, inspect, tag, history, removal."""
