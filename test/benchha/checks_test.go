package main

import (
	"strings"
	"testing"
)

const printed = `goos: linux
cpu: AMD EPYC
BenchmarkAgent/no_checks-2         	       1	         0.5662 %cpu	         0.6000 %cpu-worst	        19.14 MiB	        19.13 MiB-PSS
BenchmarkAgent/a_mix-2             	       1	         0.9325 %cpu	         1.100 %cpu-worst	        20.11 MiB	        20.11 MiB-PSS
BenchmarkAgent/a_mix_with_TLS-2    	       1	         8.032 %cpu	         8.500 %cpu-worst	        25.20 MiB	        25.20 MiB-PSS
BenchmarkProbe/smb,_a_user_and_a_file 	       1	       401.6 cpu-µs	      2101 µs
BenchmarkDeath/systemd-2 	       1	        12.30 ms	        40.10 ms-worst
BenchmarkDeath/dns-2 	       1	      2900 ms	      3100 ms-worst
PASS
`

func TestTablesOfChecks(t *testing.T) {
	got, err := tablesOf(parseResults(printed))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	got.markdown(&b)
	for _, want := range []string{
		"| no checks | 0.57 % [0.60 %] | 19.1 MiB (19.1) |  |  |\n",
		"| 100 checks at 1 s: 25 each of tcp, dns, process, systemd | 0.93 % [1.10 %] | 20.1 MiB (20.1) | < 1 % | ok |\n",
		"| 100 checks at 1 s with TLS: https, ldaps, smtp by STARTTLS | 8.03 % [8.50 %] | 25.2 MiB (25.2) |  |  |\n",
		"| smb, a user and a file | 402 | 2101 |  |  |\n",
		"| systemd | 12.3 [40.1] | every run < 500 | ok |\n",
		"| dns | 2900.0 [3100.0] |  |  |\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if n := (&report{checks: got}).missed(); n != 0 {
		t.Errorf("%d missed", n)
	}
}

func TestWhatChecksMiss(t *testing.T) {
	for _, tt := range []struct{ name, old, new string }{
		{"a mix that costs as much as was allowed", "0.9325 %cpu", "1.000 %cpu"},
		{"one death of twelve that was told late", "40.10 ms-worst", "500.0 ms-worst"},
	} {
		got, err := tablesOf(parseResults(strings.Replace(printed, tt.old, tt.new, 1)))
		if n := (&report{checks: got}).missed(); err != nil || n != 1 {
			t.Errorf("%s: %d missed, %v", tt.name, n, err)
		}
	}
}

func TestFiguresThatAreMissingAreAnError(t *testing.T) {
	for _, gone := range []string{"BenchmarkAgent/a_mix-2", "BenchmarkProbe/", "BenchmarkDeath/"} {
		if _, err := tablesOf(parseResults(strings.ReplaceAll(printed, gone, "x"))); err == nil {
			t.Errorf("without %s: no error", gone)
		}
	}
}
