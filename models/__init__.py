"""What decides: entity profiles, the online models, policy and explanation.

Pure: no Kafka, no SQL, no Bytewax and no clock; time comes in with the events.
"""
