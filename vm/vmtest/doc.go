// Package vmtest gives tests a host of their own and small guests on it that are gone when the test ends, however it ends.
package vmtest
