"""The control loop: store, queue, diff, graph, engine and the public API."""
