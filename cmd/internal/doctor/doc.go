// Package doctor judges what was found out about a host and its guests: facts in, findings out, and nothing of it is touched.
package doctor
