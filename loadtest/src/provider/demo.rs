//! Readable answers for a first look at the product: sentences about the railway, chosen by the
//! prompt, as many as its length calls for. In: the prompt. Out: a text. The same prompt always
//! gives the same text.

const SENTENCES: [&str; 16] = [
    "A pointsman sets the switches, and every train leaves on the track that suits it.",
    "The signal box knows which lines are clear, which are busy and which are closed for repair.",
    "A light train takes the branch line, since the main line costs more and brings nothing.",
    "When a bridge is out, the next train goes round it before its passengers notice.",
    "The fastest line is not always the shortest one, so the clock is read on every run.",
    "Each ticket is stamped once, and the sum of the stamps is what the ledger says.",
    "A heavy freight needs the strong engine, whatever it costs, or it stops on the hill.",
    "The timetable is a promise; the delay board is the truth.",
    "Two trains never share one block, however late the second one is.",
    "What is measured on the line today decides where the points lie tomorrow.",
    "A good dispatcher can say afterwards why each train went where it went.",
    "The night mail carries sealed bags, and nobody on the way opens them.",
    "If the express is full, the local comes a minute later and gets there all the same.",
    "An empty siding costs nothing until somebody needs it.",
    "The guard counts the carriages at the start and again at the end.",
    "No line is used because it was used before, only because it is right for this train.",
];

/// Fewest and most sentences of an answer, and the bytes of prompt that call for one more.
const SENTENCES_MIN: usize = 2;
const SENTENCES_MAX: usize = 14;
const PROMPT_BYTES_PER_SENTENCE: usize = 40;

/// The answer to a prompt.
pub(crate) fn answer(prompt: &str, model: &str) -> String {
    let count = SENTENCES_MIN + prompt.len() / PROMPT_BYTES_PER_SENTENCE;
    let count = count.min(SENTENCES_MAX);
    // FNV-1a: any spread will do, it only has to be the same tomorrow.
    let seed = prompt.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let first = seed as usize % SENTENCES.len();
    let chosen = (first..first + count).map(|at| SENTENCES[at % SENTENCES.len()]);
    let text = chosen.collect::<Vec<_>>().join(" ");
    format!("({model}, a scripted model) {text}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn longer_prompts_get_longer_answers_up_to_a_limit() {
        let lengths = [0, 200, 100_000].map(|n| super::answer(&"x".repeat(n), "m").len());
        assert!(lengths[0] < lengths[1] && lengths[1] < lengths[2] && lengths[2] < 2_000);
    }
}
