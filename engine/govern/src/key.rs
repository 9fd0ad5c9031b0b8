//! API keys: the secret that a client holds, the hash that we hold, the record that it leads to.
//!
//! In: 256 bits of entropy, a server secret. Out: the key's text (shown once) and its keyed hash.
//! Never: the text in a log or a debug print; the entropy is an argument, since nothing random is
//! pure.

use std::fmt;

/// Digits of base 62 that hold 256 bits.
const DIGITS: usize = 43;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A key's text: `pm-` and 43 digits of base 62, one double click to copy. Whoever has it is the
/// key's owner, so it has no `Display` and its `Debug` is blind.
#[derive(Clone, PartialEq, Eq)]
pub struct KeySecret {
    text: String,
}

impl KeySecret {
    /// What every key begins with, so that scanners for leaked secrets can know ours.
    pub const PREFIX: &'static str = "pm-";
    /// Length of the text in bytes.
    pub const TEXT_LEN: usize = KeySecret::PREFIX.len() + DIGITS;

    /// The key of that entropy, which has to be 32 bytes from the system's random source.
    pub fn from_entropy(entropy: [u8; 32]) -> KeySecret {
        let mut number = entropy;
        let mut digits = [0u8; DIGITS];
        for digit in digits.iter_mut().rev() {
            *digit = ALPHABET[usize::from(divide_by_62(&mut number))];
        }
        let digits = digits.iter().map(|digit| char::from(*digit));
        KeySecret { text: KeySecret::PREFIX.chars().chain(digits).collect() }
    }

    /// The text, to be shown to its owner once and written nowhere.
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for KeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySecret(pm-…)")
    }
}

/// Long division of a big-endian number in place; the remainder is the next digit.
fn divide_by_62(number: &mut [u8; 32]) -> u8 {
    let mut rest = 0u32;
    for byte in number.iter_mut() {
        let value = rest << 8 | u32::from(*byte);
        *byte = (value / 62) as u8;
        rest = value % 62;
    }
    rest as u8
}

/// The keyed hash of a key's text: all that is stored and compared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub [u8; 32]);

impl KeyHash {
    /// Equality in a time that does not tell how many bytes agree. The hash is keyed, so an
    /// attacker could hardly use the difference; it costs nothing to give none.
    pub fn equals(&self, other: &KeyHash) -> bool {
        let differing = self.0.iter().zip(other.0).fold(0u8, |bits, (a, b)| bits | (a ^ b));
        std::hint::black_box(differing) == 0
    }
}

/// The first four bytes in hex: enough to tell keys apart in a log, too little to be one.
impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "KeyHash({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

/// Turns what clients present into hashes, with a secret of this server: a stolen table of hashes
/// cannot be tried against guesses without it.
#[derive(Clone)]
pub struct KeyHasher {
    server_secret: [u8; 32],
}

impl KeyHasher {
    /// A hasher with that secret.
    pub fn new(server_secret: [u8; 32]) -> KeyHasher {
        KeyHasher { server_secret }
    }

    /// The hash of a key that we made.
    pub fn hash(&self, secret: &KeySecret) -> KeyHash {
        self.keyed(secret.text.as_bytes())
    }

    /// The hash of what a client presented, or `None` if it cannot be a key by its form: then
    /// nothing is hashed, whatever its length.
    pub fn hash_presented(&self, presented: &[u8]) -> Option<KeyHash> {
        let digits = presented.strip_prefix(KeySecret::PREFIX.as_bytes())?;
        let is_key = digits.len() == DIGITS && digits.iter().all(u8::is_ascii_alphanumeric);
        is_key.then(|| self.keyed(presented))
    }

    fn keyed(&self, text: &[u8]) -> KeyHash {
        KeyHash(*blake3::keyed_hash(&self.server_secret, text).as_bytes())
    }
}

impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHasher(…)")
    }
}

/// What a key stands for: whom to charge and how to route. Times are seconds of Unix time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRecord {
    /// Number in the store.
    pub id: u64,
    /// The keyed hash of its text.
    pub hash: KeyHash,
    /// What its owner calls it.
    pub name: String,
    /// Organisation that pays.
    pub org: String,
    /// Team within it.
    pub team: String,
    /// Project within that.
    pub project: String,
    /// The person it was made for, if one was.
    pub user: Option<String>,
    /// Strategy of its `auto` requests that name none.
    pub strategy: Option<String>,
    /// When it was made.
    pub created_at: i64,
    /// Since when it is refused.
    pub revoked_at: Option<i64>,
    /// From when on it is refused.
    pub expires_at: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_have_one_form() {
        let least = KeySecret::from_entropy([0; 32]);
        assert_eq!(least.reveal(), format!("pm-{}", "0".repeat(43)));
        let most = KeySecret::from_entropy([255; 32]);
        assert_eq!(most.reveal().len(), KeySecret::TEXT_LEN);
        let mut one = [0; 32];
        one[31] = 62;
        assert!(KeySecret::from_entropy(one).reveal().ends_with("010"));
    }

    #[test]
    fn what_cannot_be_a_key_is_not_hashed() {
        let hasher = KeyHasher::new([7; 32]);
        let good = KeySecret::from_entropy([9; 32]);
        assert_eq!(hasher.hash_presented(good.reveal().as_bytes()), Some(hasher.hash(&good)));
        for bad in [
            "",
            "pm-",
            "sk-0000000000000000000000000000000000000000000",
            "pm-000000000000000000000000000000000000000000",
            "pm-00000000000000000000000000000000000000000000",
            "pm-000000000000000000000000000000000000000000!",
            " pm-0000000000000000000000000000000000000000000",
        ] {
            assert_eq!(hasher.hash_presented(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn secrets_do_not_print() {
        let secret = KeySecret::from_entropy([3; 32]);
        assert!(!format!("{secret:?}").contains(&secret.reveal()[3..]));
        assert!(!format!("{:?}", KeyHasher::new([65; 32])).contains("65"));
    }

    proptest! {
        #[test]
        fn different_entropy_gives_different_text(a: [u8; 32], b: [u8; 32]) {
            let same = KeySecret::from_entropy(a) == KeySecret::from_entropy(b);
            prop_assert_eq!(same, a == b);
        }

        #[test]
        fn hashes_depend_on_the_server_secret(entropy: [u8; 32], a: [u8; 32], b: [u8; 32]) {
            prop_assume!(a != b);
            let key = KeySecret::from_entropy(entropy);
            let hashes = [a, b].map(|secret| KeyHasher::new(secret).hash(&key));
            prop_assert!(!hashes[0].equals(&hashes[1]));
        }
    }
}
