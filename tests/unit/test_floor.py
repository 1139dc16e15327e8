from tidegate.soak.floor import BLOCKS, Floors, resident_bytes

MIB = 1 << 20


def test_only_the_least_of_a_block_counts() -> None:
    """Garbage between two collections is no growth: peaks above a level floor change nothing."""
    floors = Floors()
    for done in range(0, 1_001, 10):
        floors.add(done, 40 * MIB + (done % 30) * MIB, done / 1_000)

    assert BLOCKS == len(floors.points)
    assert 0 == floors.growth_bytes


def test_the_first_quarter_is_left_out() -> None:
    """What fills caches until then is not growth."""
    floors = Floors()
    for done in range(0, 1_001, 10):
        floors.add(done, min(done, 250) * MIB, done / 1_000)

    assert {250 * MIB} == {rss for _, rss in floors.points}
    assert 0 == floors.growth_bytes


def test_a_leak_is_growth() -> None:
    """1 KiB a session makes up two thirds of that, floor to floor."""
    floors = Floors()
    for done in range(0, 20_001, 64):
        floors.add(done, 40 * MIB + done * 1_024, done / 20_000)

    assert 13_000 * 1_024 < floors.growth_bytes < 14_000 * 1_024


def test_measuring_takes_constant_memory() -> None:
    """A hundred thousand readings leave ten blocks."""
    floors = Floors()
    for done in range(100_000):
        floors.add(done, 1, done / 100_000)

    assert BLOCKS == len(floors.points)


def test_without_readings_there_is_no_growth() -> None:
    """A run that is too short for a block says zero, not an error."""
    assert 0 == Floors().growth_bytes


def test_what_is_resident_is_seen() -> None:
    """Sixteen MiB that are held and touched count."""
    before = resident_bytes()
    held = bytearray(b"x" * (16 * MIB))

    assert resident_bytes() - before > 12 * MIB
    assert held
