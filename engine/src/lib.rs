//! Pointsman: the routing and control layer between applications and language models.
