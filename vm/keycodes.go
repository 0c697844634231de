package vm

import (
	"slices"
	"strings"
)

// keyCodes are the names of QEMU's keys: QKeyCode of qapi/ui.json in QEMU 7.2, without `unmapped`, which is none.
var keyCodes = strings.Fields(
	`shift shift_r alt alt_r ctrl ctrl_r menu esc 1 2 3 4 5 6 7 8 9 0 minus equal backspace tab q w e r t y u i o p ` +
		`bracket_left bracket_right ret a s d f g h j k l semicolon apostrophe grave_accent backslash z x c v b n m ` +
		`comma dot slash asterisk spc caps_lock f1 f2 f3 f4 f5 f6 f7 f8 f9 f10 num_lock scroll_lock kp_divide ` +
		`kp_multiply kp_subtract kp_add kp_enter kp_decimal sysrq kp_0 kp_1 kp_2 kp_3 kp_4 kp_5 kp_6 kp_7 kp_8 kp_9 ` +
		`less f11 f12 print home pgup pgdn end left up down right insert delete stop again props undo front copy open ` +
		`paste find cut lf help meta_l meta_r compose pause ro hiragana henkan yen muhenkan katakanahiragana kp_comma ` +
		`kp_equals power sleep wake audionext audioprev audiostop audioplay audiomute volumeup volumedown mediaselect ` +
		`mail calculator computer ac_home ac_back ac_forward ac_refresh ac_bookmarks lang1 lang2`)

// keyAliases are other names that people have for the same keys.
var keyAliases = map[string]string{
	"enter": "ret", "return": "ret", "space": "spc", "escape": "esc", "del": "delete", "ins": "insert", "pageup": "pgup",
	"pagedown": "pgdn", "control": "ctrl", "altgr": "alt_r", "win": "meta_l", "super": "meta_l", "meta": "meta_l", "plus": "kp_add",
}

// plainKeys are the characters that a US keyboard types without shift, and their keys' names; letters and digits name themselves.
var plainKeys = map[byte]string{
	'-': "minus", '=': "equal", '[': "bracket_left", ']': "bracket_right", ';': "semicolon", '\'': "apostrophe", '`': "grave_accent",
	'\\': "backslash", ',': "comma", '.': "dot", '/': "slash", ' ': "spc", '\n': "ret", '\t': "tab", '\x1b': "esc",
}

// shiftedKeys are those that it types with shift, and the character on the same key without.
var shiftedKeys = map[byte]byte{
	'!': '1', '@': '2', '#': '3', '$': '4', '%': '5', '^': '6', '&': '7', '*': '8', '(': '9', ')': '0', '_': '-', '+': '=',
	'{': '[', '}': ']', ':': ';', '"': '\'', '~': '`', '|': '\\', '<': ',', '>': '.', '?': '/',
}

// keyOf gives the key that types a character on a US keyboard, and whether with shift; "": none does.
func keyOf(c byte) (key string, shift bool) {
	switch {
	case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		return string(c), false
	case 'A' <= c && c <= 'Z':
		return string(c - 'A' + 'a'), true
	}
	if plain, ok := shiftedKeys[c]; ok {
		key, _ := keyOf(plain)
		return key, true
	}
	return plainKeys[c], false
}

// KeyNames lists what may stand in a chord.
func KeyNames() []string {
	names := slices.Clone(keyCodes)
	for alias := range keyAliases {
		names = append(names, alias)
	}
	slices.Sort(names)
	return names
}
