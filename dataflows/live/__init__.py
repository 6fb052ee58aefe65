"""Payments and labels from Kafka: fixed slots that read, and one step that puts them in order."""
