//! CRC-64/XZ by tables, eight bytes a step: written apart from the client's, so that both judge each other.

const POLYNOMIAL: u64 = 0xC96C_5795_D787_0F42;

const TABLES: [[u64; 256]; 8] = tables();

const fn tables() -> [[u64; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut level = 1;
    while level < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[level - 1][byte];
            tables[level][byte] = tables[0][(before & 0xFF) as usize] ^ before >> 8;
            byte += 1;
        }
        level += 1;
    }
    tables
}

/// Continues `crc` (0 at the start) over `bytes`.
pub(crate) fn crc64(crc: u64, bytes: &[u8]) -> u64 {
    let mut crc = !crc;
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let word = crc ^ word.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte));
        crc = (0..8).fold(0, |all, at| all ^ TABLES[7 - at][(word >> (8 * at) & 0xFF) as usize]);
    }
    for byte in words.remainder() {
        crc = TABLES[0][((crc ^ u64::from(*byte)) & 0xFF) as usize] ^ crc >> 8;
    }
    !crc
}

/// The CRC-64 of `count` times `byte`.
pub(crate) fn of_one_byte(byte: u8, count: usize) -> u64 {
    let block = vec![byte; count.min(1024 * 1024)];
    let mut crc = 0;
    for at in (0..count).step_by(block.len().max(1)) {
        crc = crc64(crc, &block[..block.len().min(count - at)]);
    }
    crc
}

#[cfg(test)]
mod tests {
    use super::{crc64, of_one_byte};

    #[test]
    fn a_repeated_byte_is_summed_block_by_block() {
        assert_eq!(of_one_byte(7, 0), 0);
        assert_eq!(of_one_byte(7, 2_500_001), crc64(0, &vec![7; 2_500_001]));
    }

    #[test]
    fn the_catalogue_check_value_comes_out() {
        assert_eq!(crc64(0, b"123456789"), 0x995D_C9BB_DF19_39FA);
        assert_eq!(crc64(crc64(0, b"1234"), b"56789"), 0x995D_C9BB_DF19_39FA);
    }
}
