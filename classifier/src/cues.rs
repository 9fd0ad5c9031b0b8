//! Cue words: what a request of each task often says, in the languages most used.
//!
//! Data only. A cue is a word, a CJK character or a pair of neighbours (`into french`, `翻译`), as the
//! tokenizer of [`crate::ngrams`] sees them; longer ones would never match (a test says so). Written
//! by hand from how people ask, not counted from any data set.

use models::Task;

/// Cues of one task with their weight in logits.
pub(crate) type Row = (Task, f32, &'static [&'static str]);

#[rustfmt::skip]
pub(crate) const CUES: &[Row] = &[
    (Task::GeneralChat, 2.0, &[
        "hello", "hi", "hey", "thanks", "thank you", "good morning", "good night", "how are", "i feel", "feeling", "are you",
        "hallo", "danke", "bonjour", "merci", "hola", "gracias", "ciao", "olá", "obrigado", "obrigada", "привет", "спасибо",
        "你好", "谢谢", "您好", "哈哈", "こん", "안녕",
    ]),
    (Task::OpenQa, 1.0, &[
        "what is", "what are", "what does", "what'", "why do", "why does", "why is", "how do", "how does", "how to",
        "explain", "difference between", "who was", "who is", "when did", "which of", "is it", "can i", "should i",
        "was ist", "warum", "wie", "wieso", "quel est", "pourquoi", "comment", "qué es", "cómo", "por qué", "o que", "como",
        "cosa", "perché", "что такое", "почему", "как", "什么", "为什", "怎么", "如何", "吗", "とは", "なぜ", "무엇", "왜",
    ]),
    (Task::ClosedQa, 2.2, &[
        "passage :", "context :", "according to", "based on", "the passage", "the text", "the paragraph", "the following",
        "document :", "laut", "après", "selon", "según", "secondo", "segundo", "согласно", "根据", "依据", "よる",
    ]),
    (Task::Summarization, 4.0, &[
        "summarize", "summarise", "summary", "tldr", "key points", "condense", "recap", "in bullets",
        "zusammenfassen", "zusammenfassung", "fasse", "fass", "résume", "résumer", "résumé", "resume", "resumen", "resumir",
        "resumo", "riassumi", "riassunto", "резюмируй", "кратко", "总结", "概括", "摘要", "要約", "요약",
    ]),
    (Task::CodeGeneration, 3.0, &[
        "a function", "write code", "python script", "a script", "a regex", "regex", "dockerfile", "in python", "in rust",
        "in go", "in java", "in javascript", "in typescript", "react component", "bash script", "a program", "endpoint",
        "unit tests", "an api", "a class", "migration", "funktion", "programm", "fonction", "función", "funzione", "função",
        "функцию", "скрипт", "函数", "脚本", "代码", "関数", "함수",
    ]),
    (Task::CodeEditDebug, 3.0, &[
        "fix", "bug", "debug", "error :", "exception", "traceback", "refactor", "stack trace", "segfault", "undefined",
        "typeerror", "syntaxerror", "crashes", "not working", "this code", "my code", "this function", "code review",
        "def", "const", "fn", "import", "return", "printf", "fehler", "erreur", "ошибка", "报错", "修复", "エラ",
    ]),
    (Task::DataAnalysis, 2.6, &[
        "csv", "table", "sql", "dataset", "column", "columns", "spreadsheet", "excel", "average", "median", "correlation",
        "pivot", "group by", "select", "rows", "trend", "tabelle", "tableau", "tabla", "tabella", "tabela", "таблица",
        "表格", "数据", "平均", "デー",
    ]),
    (Task::Math, 2.6, &[
        "calculate", "compute", "solve", "prove", "integral", "derivative", "equation", "probability", "how many", "how much",
        "percent", "sum of", "find the", "simplify", "triangle", "berechne", "wie viele", "calcule", "combien", "calcula",
        "cuánto", "cuántos", "calcola", "quanto", "вычисли", "решите", "сколько", "计算", "多少", "求", "证明", "計算", "계산",
    ]),
    (Task::LogicalReasoning, 2.6, &[
        "puzzle", "riddle", "logic", "premise", "premises", "conclusion", "argument", "if all", "liar", "knights",
        "deduce", "must be", "who is", "rätsel", "énigme", "acertijo", "indovinello", "загадка", "推理", "谜语", "逻辑", "なぞ",
    ]),
    (Task::Translation, 4.0, &[
        "translate", "translation", "into english", "into french", "into german", "into spanish", "to english", "to french",
        "to german", "to spanish", "in spanish", "in french", "in german", "übersetze", "übersetzen", "traduis", "traduire",
        "traduce", "traducir", "traduci", "traduza", "переведи", "перевод", "翻译", "译成", "訳し", "翻訳", "번역",
    ]),
    (Task::CreativeWriting, 3.0, &[
        "poem", "story", "haiku", "a letter", "an email", "speech", "slogan", "lyrics", "song", "limerick", "sonnet",
        "blog post", "cover letter", "caption", "toast", "gedicht", "geschichte", "brief", "poème", "histoire", "lettre",
        "poema", "cuento", "carta", "poesia", "lettera", "стих", "рассказ", "письмо", "诗", "故事", "小说", "物語", "이야",
    ]),
    (Task::Rewriting, 3.4, &[
        "rewrite", "rephrase", "reword", "paraphrase", "proofread", "more formal", "more polite", "grammar", "shorten",
        "make this", "improve this", "sound more", "umformulieren", "formuliere", "korrigiere", "reformule", "corrige",
        "reescribe", "riscrivi", "reescreva", "перепиши", "исправь", "改写", "润色", "修改", "書き", "수정",
    ]),
    (Task::Classification, 3.2, &[
        "classify", "sentiment", "positive or", "negative or", "label", "category", "categorize", "spam", "neutral",
        "which category", "toxic", "klassifiziere", "classe", "clasifica", "classifica", "classifique", "классифицируй",
        "分类", "判断", "情感", "分類", "분류",
    ]),
    (Task::Extraction, 3.4, &[
        "extract", "pull out", "as json", "json", "entities", "list all", "all names", "fields", "email addresses", "dates",
        "extrahiere", "extrais", "extraire", "extrae", "estrai", "extraia", "извлеки", "提取", "抽取", "抽出", "추출",
    ]),
    (Task::AgentToolUse, 2.8, &[
        "book a", "book me", "search for", "send an", "schedule", "remind", "set an", "open the", "look up", "order a", "play",
        "cancel my", "check the", "download", "call", "browse", "buche", "réserve", "reserva", "prenota", "забронируй",
        "预订", "订一", "打开", "発送", "예약",
    ]),
    (Task::Brainstorming, 3.2, &[
        "ideas", "brainstorm", "suggestions", "names for", "some names", "list of", "ways to", "ideen", "idées", "ideas para",
        "idee", "ideias", "идеи", "варианты", "点子", "创意", "取名", "起名", "イデ", "디어",
    ]),
    (Task::Multimodal, 3.4, &[
        "image", "picture", "photo", "screenshot", "attached", "diagram", "video", "audio", "drawing", "draw", "bild", "foto",
        "imagen", "immagine", "imagem", "фото", "картинка", "图片", "照片", "画一", "这张", "写真", "添付", "사진",
    ]),
];

/// Words that mark confidential or personal content, with their weight in logits.
#[rustfmt::skip]
pub(crate) const SENSITIVE: (f32, &[&str]) = (1.4, &[
    "password", "passwort", "contraseña", "пароль", "密码", "confidential", "vertraulich", "confidentiel", "confidencial",
    "ssn", "social security", "passport", "iban", "diagnosis", "diagnosed", "patient", "salary", "gehalt", "lawsuit",
    "api key", "secret", "token =", "private key", "credit card", "of birth", "身份", "病人", "患者", "诊断", "工资", "паспорт",
    "nda", "termination", "medication", "hiv", "dob",
]);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ngrams::Ngrams;

    #[test]
    fn every_cue_is_one_or_two_tokens() {
        let mut ngrams = Ngrams::default();
        let all = CUES.iter().flat_map(|(_, _, cues)| *cues).chain(SENSITIVE.1);
        let long: Vec<_> = all
            .filter(|cue| {
                ngrams.read(cue);
                !(1..=2).contains(&ngrams.tokens().len())
            })
            .collect();
        assert!(long.is_empty(), "{long:?}");
    }

    #[test]
    fn every_task_has_cues() {
        for task in Task::ALL {
            assert!(CUES.iter().any(|(of, _, cues)| *of == task && !cues.is_empty()), "{task}");
        }
    }
}
