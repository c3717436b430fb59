"""What stands behind `events/bus.py`, in one process and over RabbitMQ; and the events as others get them."""
