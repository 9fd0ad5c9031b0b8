//! Labels beside the task: subject of a text, kinds of sensitive content.
//!
//! In and out: enums and their names. Names are stable: they stand in manifests, files and metrics.

/// What a text is about; the fourteen subjects of MMLU-Pro.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Domain {
    Math,
    Physics,
    Chemistry,
    Biology,
    ComputerScience,
    Engineering,
    Health,
    Law,
    Business,
    Economics,
    Psychology,
    History,
    Philosophy,
    Other,
}

impl Domain {
    /// How many there are.
    pub const COUNT: usize = 14;
    /// All, in the order of the head `domain`.
    #[rustfmt::skip]
    pub const ALL: [Domain; Domain::COUNT] = [
        Domain::Math, Domain::Physics, Domain::Chemistry, Domain::Biology, Domain::ComputerScience, Domain::Engineering,
        Domain::Health, Domain::Law, Domain::Business, Domain::Economics, Domain::Psychology, Domain::History,
        Domain::Philosophy, Domain::Other,
    ];

    /// The name in files and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Domain::Math => "math",
            Domain::Physics => "physics",
            Domain::Chemistry => "chemistry",
            Domain::Biology => "biology",
            Domain::ComputerScience => "computer science",
            Domain::Engineering => "engineering",
            Domain::Health => "health",
            Domain::Law => "law",
            Domain::Business => "business",
            Domain::Economics => "economics",
            Domain::Psychology => "psychology",
            Domain::History => "history",
            Domain::Philosophy => "philosophy",
            Domain::Other => "other",
        }
    }
}

/// A kind of sensitive content; a text may hold several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Persons who can be identified.
    Personal,
    /// Passwords, keys, tokens.
    Secrets,
    /// Illness and treatment of a person.
    Health,
    /// Disputes, contracts, proceedings.
    Legal,
    /// Accounts, salaries, debts.
    Finance,
    /// What a business keeps to itself.
    Business,
}

impl Kind {
    /// How many there are.
    pub const COUNT: usize = 6;
    /// All, in the order of the head `kinds`.
    pub const ALL: [Kind; Kind::COUNT] =
        [Kind::Personal, Kind::Secrets, Kind::Health, Kind::Legal, Kind::Finance, Kind::Business];

    /// The name in files and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Personal => "personal",
            Kind::Secrets => "secrets",
            Kind::Health => "health",
            Kind::Legal => "legal",
            Kind::Finance => "finance",
            Kind::Business => "business",
        }
    }
}
