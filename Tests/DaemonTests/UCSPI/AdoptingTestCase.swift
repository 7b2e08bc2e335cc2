// AdoptingTestCase: tests to which the orphans of their processes become children, so that they can wait for them.

import Glibc
import XCTest

class AdoptingTestCase: UCSPITestCase {
  override func setUpWithError() throws {
    try super.setUpWithError()
    adoptOrphans(true)
  }

  override func tearDown() {
    super.tearDown()
    // Those that no test waited for.
    for orphan in ProcessTable.children(of: getpid()) { waitpid(orphan, nil, WNOHANG) }
    adoptOrphans(false)
  }
}
