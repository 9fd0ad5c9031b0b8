//! Candidates to plan: filters, objectives, strategies, health as a state machine.
