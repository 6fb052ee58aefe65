"""The dataflow: its graph, its steps, its sources and sinks. Only here is Bytewax imported."""
