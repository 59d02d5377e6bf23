//! The catalogue's cases, and what the plans reject.

use wavecube_testing::catalogue::assert_right;

#[test]
fn every_case_is_right() {
    assert_right("qmatmul/");
}
