"""The device context: posture, the networks a device was seen in, and roll-outs that change a whole fleet at once."""
