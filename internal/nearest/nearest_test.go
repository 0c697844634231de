package nearest

import "testing"

func TestTheNearestNameIsFoundOrNone(t *testing.T) {
	keys := []string{"memory", "memory_max", "cpus", "cpus_max", "cmdline", "autostart"}
	tests := []struct{ word, want string }{
		{"memroy", "memory"},
		{"Memory", "memory"},
		{"memorymax", "memory_max"},
		{"cpu", "cpus"},
		{"cpus", "cpus"},
		{"auto_start", "autostart"},
		{"append", ""},
		{"x", ""},
		{"", ""},
		{string(make([]byte, 100)), ""},
	}
	for _, tt := range tests {
		got, ok := Find(tt.word, keys)
		if got != tt.want || ok != (tt.want != "") {
			t.Errorf("Find(%q) = %q, %v; want %q", tt.word, got, ok, tt.want)
		}
	}
}

func TestDistanceCountsEachSlipOnce(t *testing.T) {
	tests := []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "abc", 0}, {"abc", "acb", 1}, {"abc", "ab", 1},
		{"abc", "axc", 1}, {"abc", "axbc", 1}, {"abcd", "badc", 2}, {"kitten", "sitting", 3},
	}
	for _, tt := range tests {
		if got := distance([]rune(tt.a), []rune(tt.b)); got != tt.want {
			t.Errorf("distance(%q, %q) = %d; want %d", tt.a, tt.b, got, tt.want)
		}
		if got := distance([]rune(tt.b), []rune(tt.a)); got != tt.want {
			t.Errorf("distance(%q, %q) = %d; want %d", tt.b, tt.a, got, tt.want)
		}
	}
}
