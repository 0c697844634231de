// Package guard carries out changes that could cut the host off from its network, under the eyes of a process that undoes them unless somebody confirms that they worked.
package guard
