//! Content is cut where stock Borg cuts it.

use borg::Chunker;
use testkit::stock_borg;

/// Content of every kind: noise, text, zeros, and all of it in turn.
fn content() -> Vec<u8> {
    let mut random = testkit::Random::new(12);
    let mut content = random.noise(3 << 20);
    content.extend(std::iter::repeat_n(0, 9 << 20));
    let words: [&[u8]; 4] = [b"one ", b"two\n", b"three", b"\0\xff"];
    while content.len() < 18 << 20 {
        let number = random.below(4);
        content.extend_from_slice(words[usize::try_from(number).unwrap()]);
    }
    content.extend(random.noise(4 << 20));
    content
}

#[test]
fn cuts_are_those_of_stock_borg() {
    let Some(stock) = stock_borg() else { return };
    let content = content();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &content).unwrap();
    let mut lines = Vec::new();
    for seed in [0, 1, 0x1234_5678, u32::MAX] {
        for params in [
            "buzhash,19,23,21,4095",
            "buzhash,15,19,17,4095",
            "buzhash,10,23,16,4095",
            "buzhash,12,20,15,8191",
            "buzhash,14,17,14,31",
            "fixed,65536",
            "fixed,1000000,4000",
        ] {
            for length in [content.len(), 5 << 20, 540_000, 528_384, 528_383, 1] {
                lines.push(format!("{seed} {params} {length}"));
            }
        }
    }
    let script = concat!(include_str!("borg_oracle.py"), include_str!("chunks.py"));
    let mut arguments = vec![file.path().to_str().unwrap().to_owned()];
    arguments.extend(lines.iter().cloned());
    let answers = stock.run_python(script, arguments);
    assert_eq!(answers.lines().count(), lines.len());
    for (line, answer) in lines.iter().zip(answers.lines()) {
        let expected: Vec<usize> = answer.split(' ').map(|n| n.parse().unwrap()).collect();
        let [seed, params, length] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let mut chunker = Chunker::new(params.parse().unwrap(), seed.parse().unwrap());
        let content = &content[..length.parse().unwrap()];
        let sizes: Vec<usize> = chunker
            .cuts(content)
            .iter()
            .map(ExactSizeIterator::len)
            .collect();
        assert!(sizes == expected, "{line}");
        let mut streamed = Vec::new();
        let mut emit = |chunk| {
            streamed.push(match chunk {
                borg::Chunk::Data(bytes) => bytes.len(),
                borg::Chunk::Zeros(size) => size,
            });
        };
        for block in content.chunks(1 << 20) {
            chunker.push(block, &mut emit);
        }
        chunker.finish(&mut emit);
        assert!(streamed == expected, "{line}, as a stream");
    }
}
