"""A newcomer who forgets to name the masks, or names them wrongly, is told."""

from radfoundry.data.mask_names import remarks


def test_masks_among_images_are_remarked_and_a_pattern_that_fits_nothing_too():
    paths = ["set/images/a.nii.gz", "set/labels/a.nii.gz", "set/images/b_GT.nii.gz", "set/images/c-seg2.nii.gz"]
    (line,) = remarks(paths, 0, [])
    assert line.startswith("3 images are called like masks (gt, labels, seg)")
    wrong, _ = remarks(paths, 0, ["label/*"])
    assert wrong.startswith("masks=['label/*'] fits no file")


def test_a_folder_below_the_one_given_and_a_name_run_together_count():
    (line,) = remarks(["kits/masks/a.nii.gz", "kits/masks/b.nii.gz"], 0, [])
    assert line.startswith("2 images are called like masks (masks)")
    (line,) = remarks(["pat1/T1.nii.gz", "pat1/brainmask.nii.gz"], 0, [])
    assert line.startswith("1 image is called like masks (brainmask)")


def test_ordinary_names_say_nothing():
    assert (
        remarks(["cxr/00000211_013.jpg", "segovia/sub-01_T1w.nii.gz", "x/unlabeled.png", "x/gtx.png"], 3, ["*m*"]) == []
    )
    assert remarks(["labels/a.png", "labels/b.png"], 0, []) == []
