"""Simulated honest oddities (travel, roll-outs, automation) and the noise of transport and clocks."""
