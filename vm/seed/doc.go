// Package seed makes the CD that tells a new guest who it is: cloud-init's NoCloud data source, which FreeBSD's nuageinit reads, too.
package seed
