//! Keys, roles, prices to charges.
