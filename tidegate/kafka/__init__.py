"""The way to Kafka: what clients are told, brokers and topics, messages out, one message again."""
