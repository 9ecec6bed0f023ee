"""Body regions built from parameters: bones, organs and soft tissue with sizes in mm."""
